#!lua
-- Add a batch of messages to a shared channel, once: a batch that was seen gets the answer that it got.
-- KEYS: the channel's ready list, payloads, states, delayed, marks; what its sender was answered last
-- ARGV: number of the batch, milliseconds that the answer is kept, address of the wake-up, then three for each message:
--   capacity, milliseconds until it expires, payload
-- Returns how many messages were found expired, and a letter for each message: 1 accepted, f full.
-- A whole number, or 0: anybody may have written it.
local function whole(text)
    local digits = string.match(text or '', '^[1-9]%d*$') or '0'
    return #digits < 17 and tonumber(digits) or 0
end

local number = tonumber(ARGV[1])
local seen, answered = string.match(redis.call('GET', KEYS[6]) or '', '^(%d+):(%w*)$')
if seen then
    if number == tonumber(seen) and #answered == (#ARGV - 3) / 3 then
        return '0:' .. answered
    elseif number < tonumber(seen) then
        return redis.error_reply('STALE a batch that its sender has given up')
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expired = 0

local function depth()
    return redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[4])
end

-- Take out what has expired, wherever it stands: what was delivered before never does, and may stand at the head.
-- Not again before the next message expires, so that a full channel costs little.
local function sweep()
    local due, next_sweep = whole(redis.call('HGET', KEYS[5], 'sweep')), now + 3600000
    if now < due and due <= next_sweep then
        return
    end
    for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
        local delivered, expires = string.match(redis.call('HGET', KEYS[3], id) or '0:1', '^(%d+):(%d+)')
        expires = delivered == '0' and tonumber(expires) or 0
        if expires > now then
            next_sweep = math.min(next_sweep, expires)
        elseif expires > 0 then
            redis.call('LREM', KEYS[1], 1, id)
            redis.call('HDEL', KEYS[2], id)
            redis.call('HDEL', KEYS[3], id)
            expired = expired + 1
        end
    end
    redis.call('HSET', KEYS[5], 'sweep', next_sweep)
end

local waiting, results, accepted, soonest = depth(), {}, 0, now + 3600000
local swept = false
for first = 4, #ARGV, 3 do
    local capacity = tonumber(ARGV[first])
    if waiting >= capacity and not swept then
        sweep()
        waiting, swept = depth(), true
    end
    if waiting < capacity then
        if accepted == 0 and whole(redis.call('HGET', KEYS[5], 'last')) == 0 then
            redis.call('HSET', KEYS[5], 'last', time[1] * 1000000 + time[2]) -- numbers never come twice, also after a flush
        end
        local id = redis.call('HINCRBY', KEYS[5], 'last', 1)
        local expires = now + ARGV[first + 1]
        redis.call('HSET', KEYS[2], id, ARGV[first + 2])
        redis.call('HSET', KEYS[3], id, string.format('0:%d:%d', expires, now))
        redis.call('RPUSH', KEYS[1], id)
        waiting = waiting + 1
        accepted = accepted + 1
        soonest = math.min(soonest, expires)
        results[#results + 1] = '1'
    else
        results[#results + 1] = 'f'
    end
end
if soonest < whole(redis.call('HGET', KEYS[5], 'sweep')) then
    redis.call('HSET', KEYS[5], 'sweep', soonest)
end
redis.call('PEXPIRE', KEYS[5], 86400000) -- without them, numbers go on by the clock, and a full channel is searched
local answer = table.concat(results)
redis.call('SET', KEYS[6], ARGV[1] .. ':' .. answer, 'PX', ARGV[2])
if accepted > 0 then
    redis.call('SPUBLISH', ARGV[3], accepted)
end
return expired .. ':' .. answer
