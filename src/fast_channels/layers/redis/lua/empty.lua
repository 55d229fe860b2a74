#!lua flags=allow-oom
-- Drop what waits in an inbox and its memberships, and tell its owner to do the same.
-- KEYS: the inbox's meta, stream, accepted, handed, groups
-- ARGV: head of the entry for the owner, who finds in it how many messages there were so far
if redis.call('HEXISTS', KEYS[1], 'epoch') == 0 then
    return 0
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
local before = string.match(redis.call('HGET', KEYS[1], 'in') or '', '^%d+$') or '0'
redis.call('HSET', KEYS[1], 'out', before)
redis.call('XADD', KEYS[2], '*', ARGV[1], before)
return 1
