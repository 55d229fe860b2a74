#!lua flags=allow-oom
-- Forget messages of a shared channel that were handled, if they are still held by who says so.
-- KEYS: the channel's payloads, states, held
-- ARGV: client, ids
-- Returns a letter for each id: 1 done, 0 somebody else has it now or will get it, g it is gone.
local results = {}
for at = 2, #ARGV do
    if redis.call('HGET', KEYS[3], ARGV[at]) == ARGV[1] then
        redis.call('HDEL', KEYS[1], ARGV[at])
        redis.call('HDEL', KEYS[2], ARGV[at])
        redis.call('HDEL', KEYS[3], ARGV[at])
        results[#results + 1] = '1'
    else
        results[#results + 1] = redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 and '0' or 'g'
    end
end
return table.concat(results)
