#!lua flags=allow-oom
-- The owner of an inbox reports what it has read and handed over, in totals, so that a report may come twice.
-- KEYS: the inbox's meta, stream, accepted, handed
-- ARGV: epoch, id of the first entry that is not read yet ('' for no change), messages read, number of released channels,
--   those channels, then for each channel: its name, messages handed over
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
    return 0
end
if ARGV[2] ~= '' then
    redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
    redis.call('HSET', KEYS[1], 'out', ARGV[3])
end
local first = 5 + tonumber(ARGV[4])
for at = 5, first - 1 do
    redis.call('HDEL', KEYS[3], ARGV[at])
    redis.call('HDEL', KEYS[4], ARGV[at])
end
for at = first, #ARGV, 2 do
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
end
return 1
