#!lua flags=no-writes
-- The members of a group whose membership has not run out.
-- KEYS: the group
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')
