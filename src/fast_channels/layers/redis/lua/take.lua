#!lua flags=allow-oom
-- Take messages of a shared channel for receivers that wait. A request that was answered gets what it got.
-- KEYS: the channel's ready list, payloads, states, delayed, held, leases, requests
-- ARGV: client, number of the request, how many, milliseconds of a lease
-- Returns: how many were found expired, milliseconds until a delayed message is due (-1 for none), and for each message
--   its id, how often it was delivered (with this time), its payload. 0 times: it is no message, and is forgotten.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local client = ARGV[1]

local lease = redis.call('HGET', KEYS[6], client)
local run, ends = string.match(lease or '', '^(%d+):(%d+)$')
if not run or tonumber(ends) - now < ARGV[4] / 2 then
    run = string.format('%d', now)
end
redis.call('HSET', KEYS[6], client, run .. ':' .. string.format('%d', now + ARGV[4]))
redis.call('PEXPIRE', KEYS[6], 86400000)

local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)
for at = #due, 1, -1 do
    redis.call('ZREM', KEYS[4], due[at])
    redis.call('LPUSH', KEYS[1], due[at])
end

-- What is known of a message: how often it was delivered, when it expires, when it came. Nothing, if that means nothing.
local function state(id)
    local deliveries, expires, sent = string.match(redis.call('HGET', KEYS[3], id) or '', '^(%d+):(%d+):(%d+)$')
    if deliveries and #deliveries < 10 and #expires < 17 and #sent < 17 then
        return deliveries, expires, sent
    end
end

local answer = {0, -1}
local function add(id, deliveries)
    answer[#answer + 1] = id
    answer[#answer + 1] = deliveries
    answer[#answer + 1] = redis.call('HGET', KEYS[2], id)
end

local before = redis.call('HGET', KEYS[7], client) or ''
local request, ids = string.match(before, '^(%d+):(.*)$')
if request == ARGV[2] then
    for id in string.gmatch(ids, '%d+') do
        if redis.call('HGET', KEYS[5], id) == client then
            add(id, tonumber(state(id) or 1))
        end
    end
else
    local taken, junk = {}, 0
    while #taken + junk < tonumber(ARGV[3]) do
        local id = redis.call('LPOP', KEYS[1])
        if not id then
            break
        end
        local deliveries, expires, sent = state(id)
        if not deliveries and redis.call('HEXISTS', KEYS[2], id) == 1 then
            deliveries, expires, sent = '0', '0', string.format('%d', now)
        end
        if not deliveries or not string.match(id, '^%d+$') then
            redis.call('HDEL', KEYS[2], id)
            redis.call('HDEL', KEYS[3], id)
            junk = junk + 1
            answer[#answer + 1] = id
            answer[#answer + 1] = 0
            answer[#answer + 1] = ''
        elseif deliveries == '0' and tonumber(expires) > 0 and tonumber(expires) <= now then
            redis.call('HDEL', KEYS[2], id)
            redis.call('HDEL', KEYS[3], id)
            answer[1] = answer[1] + 1
        else
            redis.call('HSET', KEYS[3], id, (deliveries + 1) .. ':' .. expires .. ':' .. sent)
            redis.call('HSET', KEYS[5], id, client)
            taken[#taken + 1] = id
            add(id, deliveries + 1)
        end
    end
    redis.call('HSET', KEYS[7], client, ARGV[2] .. ':' .. table.concat(taken, ','))
    redis.call('PEXPIRE', KEYS[7], 86400000)
end

local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if first[2] then
    answer[2] = math.min(86400000, math.max(0, first[2] - now))
end
return answer
