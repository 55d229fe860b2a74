#!lua flags=allow-oom
-- The owner of an inbox reports what it has read and handed over, in totals, so that a report may come twice.
-- KEYS: the inbox's meta, stream, accepted, handed
-- ARGV: epoch, id of the first entry that is not read yet ('' for no change), messages read, number of released channels,
--   those channels, then for each channel: its name, messages handed over
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
    return 0
end

-- A server that took over may be behind what was read, and what it added since then is not: that is read before.
local function is_behind(id)
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for at = 1, #info, 2 do
        if info[at] == 'last-generated-id' then
            local ms, number = string.match(info[at + 1], '^(%d+)-(%d+)$')
            local read_ms, read_number = string.match(id, '^(%d+)-(%d+)$')
            ms, read_ms = tonumber(ms), tonumber(read_ms)
            return ms < read_ms or (ms == read_ms and tonumber(number) + 1 < tonumber(read_number))
        end
    end
end

if ARGV[2] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 and not is_behind(ARGV[2]) then
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
