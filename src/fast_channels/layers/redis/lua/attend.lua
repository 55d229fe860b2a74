#!lua flags=allow-oom
-- The owner of an inbox says that it is there: keeps its lease, and makes the inbox anew if the server has lost it.
-- KEYS: the inbox's meta, stream, accepted, handed, groups
-- ARGV: epoch that the owner knows, epoch to give a new inbox, id of the entry read last, milliseconds of a lease,
--   milliseconds after which an inbox is forgotten that nobody attends to, 1 if the connection is new
-- Returns the time, 1 if the inbox is new, 1 if the stream had fallen behind what was read.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'epoch')
local new, behind = 0, 0

local function parts(id)
    local dash = string.find(id, '-', 1, true)
    return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end

local function is_before(id, other)
    local ms, number = parts(id)
    local other_ms, other_number = parts(other)
    return ms < other_ms or (ms == other_ms and number < other_number)
end

local function last_id()
    if redis.call('EXISTS', KEYS[2]) == 0 then
        return nil
    end
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for at = 1, #info, 2 do
        if info[at] == 'last-generated-id' then
            return info[at + 1]
        end
    end
end

if known == ARGV[2] then
    new = 1 -- by another call of its owner, a moment ago
elseif known ~= ARGV[1] then
    redis.call('DEL', unpack(KEYS))
    redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'in', 0, 'out', 0)
    new = 1
elseif ARGV[6] == '1' and ARGV[3] ~= '0-0' then
    -- after a failover to a server whose clock is behind, what is added must nevertheless come after what was read
    local last = last_id()
    if not last then
        redis.call('XADD', KEYS[2], ARGV[3], '-', '')
        behind = 1
    elseif is_before(last, ARGV[3]) then
        redis.call('XSETID', KEYS[2], ARGV[3])
        behind = 1
    end
end
redis.call('HSET', KEYS[1], 'until', now + ARGV[4])
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ARGV[5])
end
return {now, new, behind}
