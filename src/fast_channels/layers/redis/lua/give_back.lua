#!lua flags=allow-oom
-- Give a message back that a client holds: to the head of its channel now or later, or to the dead letters.
-- KEYS: the channel's ready list, payloads, states, delayed, held, dead letters, their reports, marks; where it is noted
--   that this message was restored
-- ARGV: client, id, milliseconds to wait, most deliveries (0: this one does not count), most dead letters, reason, error,
--   address of the wake-up, payload to restore a message that was acknowledged and not handed over ('' for none),
--   1 if a handler had it: it does not expire any more
-- Returns b given back, d dead letter, 0 somebody else has it now, or nobody.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, most = ARGV[2], tonumber(ARGV[4])
local holder = redis.call('HGET', KEYS[5], id)
local count, expires, sent = string.match(redis.call('HGET', KEYS[3], id) or '', '^(%d+):(%d+):(%d+)$')
local deliveries = tonumber(count or 1)

if holder ~= ARGV[1] then
    if holder or ARGV[9] == '' or redis.call('HEXISTS', KEYS[2], id) == 1 then
        return '0'
    end
    if not redis.call('SET', KEYS[9], 1, 'NX', 'PX', 60000) then
        return '0' -- by the same request, whose answer was lost; it was handled since then
    end
    redis.call('HSET', KEYS[2], id, ARGV[9])
end
redis.call('HDEL', KEYS[5], id)

if most > 0 and deliveries >= most then
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZADD', KEYS[6], now, id)
    redis.call('HSET', KEYS[7], id, deliveries .. ':' .. ARGV[6] .. ':' .. ARGV[7])
    for _, old in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1 - tonumber(ARGV[5]))) do
        redis.call('ZREM', KEYS[6], old)
        redis.call('HDEL', KEYS[7], old)
        redis.call('HDEL', KEYS[2], old)
    end
    return 'd'
end

if most == 0 then
    deliveries = math.max(0, deliveries - 1)
end
if ARGV[10] == '1' then
    expires = 0
end
redis.call('HSET', KEYS[3], id, deliveries .. ':' .. (expires or 0) .. ':' .. (sent or string.format('%d', now)))
if deliveries == 0 and tonumber(expires or 0) > 0 then -- it expires again, and a full channel looks for it in time
    local sweep = tonumber(redis.call('HGET', KEYS[8], 'sweep') or 0) or 0 -- it may be anything
    if tonumber(expires) < sweep then
        redis.call('HSET', KEYS[8], 'sweep', expires)
    end
end
if tonumber(ARGV[3]) > 0 then
    redis.call('ZADD', KEYS[4], now + ARGV[3], id)
else
    redis.call('LPUSH', KEYS[1], id)
end
redis.call('SPUBLISH', ARGV[8], 1)
return 'b'
