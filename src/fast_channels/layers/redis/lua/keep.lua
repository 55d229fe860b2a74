#!lua flags=allow-oom
-- Keep the lease of a client on a shared channel, and give back what clients hold whose lease is over.
-- A server that was stopped has let every lease run out. So nobody is robbed by a client that has not renewed its own
-- without a break of half a lease for a whole one: in that time, whoever lives has come back.
-- KEYS: the channel's ready list, payloads, states, delayed, held, leases, requests, dead letters, their reports
-- ARGV: client, milliseconds of a lease, most deliveries, most dead letters, address of the wake-up
-- Returns: how many messages wait, milliseconds until a delayed one is due (-1 for none), how many were given back, how
--   many became dead letters, and the clients that had held them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local client, most = ARGV[1], tonumber(ARGV[3])

local run, ends = string.match(redis.call('HGET', KEYS[6], client) or '', '^(%d+):(%d+)$')
if not run or tonumber(ends) - now < ARGV[2] / 2 then
    run = string.format('%d', now)
end
redis.call('HSET', KEYS[6], client, run .. ':' .. string.format('%d', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[6], 86400000)

local given_back, dead = 0, 0
local robbed = {}

local function bury(id, deliveries)
    redis.call('ZADD', KEYS[8], now, id)
    redis.call('HSET', KEYS[9], id, deliveries .. ':max_deliveries:its worker died while it handled the message')
    for _, old in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1 - tonumber(ARGV[4]))) do
        redis.call('ZREM', KEYS[8], old)
        redis.call('HDEL', KEYS[9], old)
        redis.call('HDEL', KEYS[2], old)
    end
    redis.call('HDEL', KEYS[3], id)
    dead = dead + 1
end

if now - run >= tonumber(ARGV[2]) then
    local alive = {}
    local leases = redis.call('HGETALL', KEYS[6])
    for at = 1, #leases, 2 do
        if tonumber(string.match(leases[at + 1], '^%d+:(%d+)$') or 0) < now then
            redis.call('HDEL', KEYS[6], leases[at])
            redis.call('HDEL', KEYS[7], leases[at])
        else
            alive[leases[at]] = true
        end
    end
    local orphans = {}
    local held = redis.call('HGETALL', KEYS[5])
    for at = 1, #held, 2 do
        if not string.match(held[at], '^%d+$') then
            redis.call('HDEL', KEYS[5], held[at]) -- no message
        elseif not alive[held[at + 1]] then
            orphans[#orphans + 1] = held[at]
            robbed[held[at + 1]] = true
        end
    end
    table.sort(orphans, function(one, other) return tonumber(one) > tonumber(other) end)
    for _, id in ipairs(orphans) do
        redis.call('HDEL', KEYS[5], id)
        local deliveries = tonumber(string.match(redis.call('HGET', KEYS[3], id) or '', '^%d+') or 0)
        if deliveries >= most then
            bury(id, deliveries)
        else
            redis.call('LPUSH', KEYS[1], id)
            given_back = given_back + 1
        end
    end
end

local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)
for at = #due, 1, -1 do
    redis.call('ZREM', KEYS[4], due[at])
    redis.call('LPUSH', KEYS[1], due[at])
end
if given_back + #due > 0 then
    redis.call('SPUBLISH', ARGV[5], given_back + #due)
end

local answer = {redis.call('LLEN', KEYS[1]), -1, given_back, dead}
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if first[2] then
    answer[2] = math.min(86400000, math.max(0, first[2] - now))
end
for holder in pairs(robbed) do
    answer[#answer + 1] = holder
end
return answer
