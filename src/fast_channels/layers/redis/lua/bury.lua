#!lua flags=allow-oom
-- Remove an inbox: its owner closes it, or has been silent for a lease.
-- KEYS: the inbox's meta, stream, accepted, handed, groups
-- ARGV: epoch of the owner that closes it; '' to remove it only if its lease is over
-- Returns nil if it lives or is gone; else the epoch, the messages that were left, and the groups it was in.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'until', 'in', 'out')
if not meta[1] or (ARGV[1] ~= '' and meta[1] ~= ARGV[1]) then
    return false
end
if ARGV[1] == '' then
    local time = redis.call('TIME')
    if time[1] * 1000 + math.floor(time[2] / 1000) < (tonumber(meta[2]) or 0) then
        return false
    end
end

-- What is unread is in the stream. What was read and not handed over died with its owner: known for direct messages.
local function count(text) -- anybody may have written it
    return tonumber(string.match(text or '', '^%-?%d+$') or 0)
end

local left = 0
local start = '-'
while true do
    local entries = redis.call('XRANGE', KEYS[2], start, '+', 'COUNT', 500)
    for _, entry in ipairs(entries) do
        for at = 1, #entry[2], 2 do
            local kind = string.sub(entry[2][at], 1, 1)
            if kind == 'g' then
                left = left + 1
            end
        end
        start = '(' .. entry[1]
    end
    if #entries < 500 then
        break
    end
end
local accepted = redis.call('HGETALL', KEYS[3])
for at = 1, #accepted, 2 do
    left = left + math.max(0, count(accepted[at + 1]) - count(redis.call('HGET', KEYS[4], accepted[at])))
end

local groups = redis.call('SMEMBERS', KEYS[5])
redis.call('DEL', unpack(KEYS))
return {meta[1], left, groups}
