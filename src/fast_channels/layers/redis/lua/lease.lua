#!lua flags=allow-oom
-- Keep the lease of a client, and name the clients whose lease is over.
-- A server that was stopped has let every lease run out. So only who has renewed its own without a break for a whole lease
-- is told: in that time, whoever lives has come back. A break is half a lease: a stop that some leases outlive and others
-- do not is one for all.
-- KEYS: leases (sorted by their end), starts of unbroken runs
-- ARGV: client, milliseconds of a lease, most clients to name
-- Returns the clients whose lease is over.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
local run = tonumber(string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^%d+$'))
if not ends or not run or tonumber(ends) - now < ARGV[2] / 2 then
    run = now
    redis.call('HSET', KEYS[2], ARGV[1], run)
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000) -- of a prefix that nobody uses any more, nothing stays
redis.call('PEXPIRE', KEYS[2], 86400000)
if now - run < tonumber(ARGV[2]) then
    return {}
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, ARGV[3])
