#!lua
-- Append a batch of messages to an inbox, once: a batch that was seen gets the answer that it got.
-- KEYS: the inbox's meta, stream, accepted, handed; what its sender was answered last
-- ARGV: number of the batch, bound of the inbox, milliseconds that the answer is kept, then four for each message:
--   direct: capacity of the channel, channel, head, payload
--   to a group: '', epoch that is a member, head, payload     control entry: '', '', head, payload
-- Returns a letter for each message: 1 accepted, f channel full, g no such inbox, o inbox over its bound.
-- A whole number, or 0: anybody may have written it.
local function whole(text)
    local digits = string.match(text or '', '^[1-9]%d*$') or '0'
    return #digits < 17 and tonumber(digits) or 0
end

local number = tonumber(ARGV[1])
local seen, answered = string.match(redis.call('GET', KEYS[5]) or '', '^(%d+):(%w*)$')
if seen then
    if number == tonumber(seen) and #answered == (#ARGV - 3) / 4 then
        return answered
    elseif number < tonumber(seen) then
        return redis.error_reply('STALE a batch that its sender has given up')
    end
end

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'in', 'out')
local epoch = meta[1]
local room = tonumber(ARGV[2]) - whole(meta[2]) + whole(meta[3])
local results, entry, waiting, accepted = {}, {}, {}, {}

local function handed(channel) -- below 0 after the server had lost what it had counted
    local sign, digits = string.match(redis.call('HGET', KEYS[4], channel) or '', '^(%-?)(%d+)$')
    return sign == '-' and -whole(digits) or whole(digits)
end

local function accept(channel, capacity)
    local depth = waiting[channel]
    if not depth then
        accepted[channel] = whole(redis.call('HGET', KEYS[3], channel))
        depth = accepted[channel] - handed(channel)
    end
    local fits = depth < capacity
    waiting[channel] = fits and depth + 1 or depth
    accepted[channel] = fits and accepted[channel] + 1 or accepted[channel]
    return fits
end

for first = 4, #ARGV, 4 do
    local capacity, name = tonumber(ARGV[first]), ARGV[first + 1]
    local result = '1'
    if not epoch or (not capacity and name ~= '' and name ~= epoch) then
        result = 'g'
    elseif room < 1 then
        result = 'o'
    elseif capacity and not accept(name, capacity) then
        result = 'f'
    else
        room = room - 1
        entry[#entry + 1] = ARGV[first + 2]
        entry[#entry + 1] = ARGV[first + 3]
    end
    results[#results + 1] = result
end

if #entry > 0 then
    redis.call('XADD', KEYS[2], '*', unpack(entry))
    redis.call('HSET', KEYS[1], 'in', whole(meta[2]) + #entry / 2)
    for channel, count in pairs(accepted) do
        redis.call('HSET', KEYS[3], channel, count)
    end
end
local answer = table.concat(results)
redis.call('SET', KEYS[5], ARGV[1] .. ':' .. answer, 'PX', ARGV[3])
return answer
