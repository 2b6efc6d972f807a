"""The Lua scripts that let a barrier in Redis forget."""

from choros.store.redis.server import Script

PRUNE = Script("""
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, key in ipairs(keys) do
    redis.call('DEL', ARGV[1] .. 'row:' .. key)
    redis.call('ZREM', ARGV[1] .. 'unsent', key)
    redis.call('ZREM', KEYS[1], key)
end
return #keys
""")
# Those that owe a reply or cannot be read are passed over; how many they are is told, for whoever wants to look past
# them. What frees memory comes first: so a script may go on to what needs some where Redis is full.
FORGET_ROWS = Script("""
local function began_of(key)
    local stored = redis.pcall('GET', ARGV[1] .. 'row:' .. key)
    if not stored then return true, nil end
    local readable, row = pcall(cjson.decode, stored)
    local began = readable and type(row) == 'table' and tonumber(row[5])
    return began, began and row[5]
end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', ARGV[3], ARGV[4])
local keys, at = {}, redis.call('GET', KEYS[2])
for _, key in ipairs(found) do
    if not redis.call('ZSCORE', ARGV[1] .. 'unsent', key) then
        local known, began = began_of(key)
        if began and (not at or tonumber(at) < tonumber(began)) then at = began end
        if known then keys[#keys + 1] = key end
    end
end
for _, key in ipairs(keys) do
    redis.call('DEL', ARGV[1] .. 'row:' .. key)
    redis.call('ZREM', KEYS[1], key)
end
if #keys > 0 and at then redis.call('SET', KEYS[2], at) end
return {#keys, #found - #keys}
""")
