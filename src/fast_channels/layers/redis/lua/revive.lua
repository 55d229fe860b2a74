#!lua flags=allow-oom
-- Send dead letters again, or drop them.
-- KEYS: the channel's ready list, payloads, states, dead letters, their reports
-- ARGV: again or drop, address of the wake-up, ids (none: all)
-- Returns how many there were.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = {}
for at = 3, #ARGV do
    ids[#ids + 1] = ARGV[at]
end
if #ids == 0 then
    ids = redis.call('ZRANGE', KEYS[4], 0, -1)
end
local found = 0
for _, id in ipairs(ids) do
    if redis.call('ZREM', KEYS[4], id) == 1 then
        found = found + 1
        redis.call('HDEL', KEYS[5], id)
        if ARGV[1] == 'again' then
            redis.call('HSET', KEYS[3], id, string.format('0:0:%d', now))
            redis.call('RPUSH', KEYS[1], id)
        else
            redis.call('HDEL', KEYS[2], id)
        end
    end
end
if found > 0 and ARGV[1] == 'again' then
    redis.call('SPUBLISH', ARGV[2], found)
end
return found
