#!lua
-- Make members of a group, or go on being one.
-- KEYS: the group
-- ARGV: milliseconds that a membership lasts, XX to keep up only what is there or '', member
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if ARGV[2] == 'XX' then
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[3])
else
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[1], redis.call('PTTL', KEYS[1])))
return 1
