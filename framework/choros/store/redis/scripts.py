"""The Lua scripts of the Redis store. Each checks all it has to check before its first write: Lua rolls nothing back.

Keys, all behind one hash tag and hence in one slot, so that a transition is one atomic script. (Decided: one tag for
a namespace. Partitions, `{choros:17}`, can come later: only `due`, `unsent`, `find` and `counts` would have to ask
each of them.)

    saga:<id>                hash     version, transition, head and state (the record), kind, group, clock
    outbox:<id>              hash     message id -> envelope
    history:<id>             list     "version at events"
    entries:<id>             hash     name -> text; what lies beside the record
    unsent:<channel>         zset     saga id NUL message id, by the microsecond of its commit
    due:<kind>               zset     saga id, by wake-up time, or till then claimed; kind = saga:version[:fingerprint]
    started:<group>          zset     saga id, by start; group = saga/status
    ended                    zset     saga id of a record that has ended, by its last change
    label:<name>             zset     saga id of a record that has an entry of this very name, all with the score 0
    over:<id>                string   "digest status end saga" of a record that was forgotten; expires
    forgotten                string   the latest end of those
    counts                   hash     group -> number of records
    live                     hash     kind -> number of records that have not ended
    schema                   string   the version of all this
    identity                 string   what tells this store from every other one
"""

from choros.store.redis.server import Script

COMMIT = Script("""
local live = {running = true, compensating = true, parked = true}
local prefix, id = ARGV[1], ARGV[2]
local old = redis.call('HMGET', KEYS[1], 'version', 'transition', 'group', 'clock', 'kind')
if (old[1] or '0') ~= ARGV[3] or (old[2] or '') ~= ARGV[4] then return 0 end
if not old[1] and redis.call('EXISTS', prefix .. 'over:' .. id) == 1 then return 0 end
local kind, group = ARGV[9], ARGV[10]
local outbox, entries = prefix .. 'outbox:' .. id, prefix .. 'entries:' .. id
local sent_end = 16 + tonumber(ARGV[15])
local entries_end = sent_end + tonumber(ARGV[16])

-- The clock of one saga never stands still or runs back: it keeps its messages in the order of their commits.
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
if old[4] and clock <= tonumber(old[4]) then clock = tonumber(old[4]) + 1 end

for i = 17, sent_end do
    redis.call('HDEL', outbox, ARGV[i])
    for _, channel in ipairs({'commands', 'local', 'facts'}) do
        redis.call('ZREM', prefix .. 'unsent:' .. channel, id .. '\\0' .. ARGV[i])
    end
end
for i = sent_end + 1, entries_end, 2 do
    local label = string.sub(ARGV[i], 1, 6) == 'label:'
    if ARGV[i + 1] == '' then
        redis.call('HDEL', entries, ARGV[i])
        if label then redis.call('ZREM', prefix .. ARGV[i], id) end
    else
        redis.call('HSET', entries, ARGV[i], ARGV[i + 1])
        if label then redis.call('ZADD', prefix .. ARGV[i], 0, id) end
    end
end
for i = entries_end + 1, #ARGV, 3 do
    redis.call('HSET', outbox, ARGV[i + 1], ARGV[i + 2])
    redis.call('ZADD', prefix .. 'unsent:' .. ARGV[i], string.format('%.0f', clock), id .. '\\0' .. ARGV[i + 1])
    clock = clock + 1
end
redis.call('HSET', KEYS[1], 'version', ARGV[5], 'transition', ARGV[6], 'head', ARGV[7], 'state', ARGV[8],
    'kind', kind, 'group', group, 'clock', string.format('%.0f', clock))
if old[5] and old[5] ~= kind then redis.call('ZREM', prefix .. 'due:' .. old[5], id) end
if ARGV[12] == '' then
    redis.call('ZREM', prefix .. 'due:' .. kind, id)
else
    redis.call('ZADD', prefix .. 'due:' .. kind, ARGV[12], id)
end
local lived, lives = old[3] and live[string.match(old[3], '[^/]*$')], live[string.match(group, '[^/]*$')]
if old[5] ~= kind or lived ~= lives then
    if lived then redis.call('HINCRBY', prefix .. 'live', old[5], -1) end
    if lives then redis.call('HINCRBY', prefix .. 'live', kind, 1) end
end
if ARGV[13] ~= '' then redis.call('RPUSH', prefix .. 'history:' .. id, ARGV[13]) end
if old[3] ~= group then
    if old[3] then
        redis.call('ZREM', prefix .. 'started:' .. old[3], id)
        redis.call('HINCRBY', prefix .. 'counts', old[3], -1)
    end
    redis.call('ZADD', prefix .. 'started:' .. group, ARGV[11], id)
    redis.call('HINCRBY', prefix .. 'counts', group, 1)
end
if not lives then
    redis.call('ZADD', prefix .. 'ended', ARGV[14], id)
elseif old[3] and not lived then
    redis.call('ZREM', prefix .. 'ended', id)
end
return 1
""")

# What is of another type than it should be makes this one record unreadable, and holds no other.
LOAD = Script("""
local found, at, unsent = {}, 2, ARGV[1] .. 'unsent:'
for i, key in ipairs(KEYS) do
    local id, wanted = ARGV[at], tonumber(ARGV[at + 1])
    local one = redis.pcall('HMGET', key, 'version', 'transition', 'head', 'state')
    local outbox = redis.pcall('HKEYS', ARGV[1] .. 'outbox:' .. id)
    local entries = {}
    if wanted < 0 then entries = redis.pcall('HGETALL', ARGV[1] .. 'entries:' .. id) end
    for n = 1, wanted do
        local name = ARGV[at + 1 + n]
        local text = redis.pcall('HGET', ARGV[1] .. 'entries:' .. id, name)
        if type(text) == 'table' then entries = text break end
        entries[2 * n - 1], entries[2 * n] = name, text or ''
    end
    at = at + 2 + math.max(wanted, 0)
    if one.err or outbox.err or entries.err then one, outbox, entries = {'', '', '', ''}, {}, {} end
    if one[1] then
        one[5], one[6], one[7] = {}, {}, entries
        for _, message in ipairs(outbox) do
            local member = id .. '\\0' .. message
            local command = redis.call('ZSCORE', unsent .. 'commands', member)
                or redis.call('ZSCORE', unsent .. 'local', member)
            table.insert(command and one[5] or one[6], message)
        end
        found[i] = one
    else
        found[i] = redis.call('GET', ARGV[1] .. 'over:' .. id)
    end
end
return found
""")

MARK_SENT = Script("""
local prefix, id = ARGV[1], ARGV[2]
for i = 3, #ARGV do
    redis.call('HDEL', prefix .. 'outbox:' .. id, ARGV[i])
    for _, channel in ipairs({'commands', 'local', 'facts'}) do
        redis.call('ZREM', prefix .. 'unsent:' .. channel, id .. '\\0' .. ARGV[i])
    end
end
return 1
""")

# What frees memory comes first: a script whose first write does may go on to others where Redis is out of memory.
FORGET = Script("""
local live = {running = true, compensating = true, parked = true}
local prefix, id = ARGV[1], ARGV[2]
local old = redis.call('HMGET', KEYS[1], 'group', 'kind', 'head')
local at = redis.call('ZSCORE', prefix .. 'ended', id)
if not at then return 0 end
if redis.call('EXISTS', KEYS[1]) == 0 then -- deleted by hand: what is left of it must not fill every look
    redis.call('UNLINK', prefix .. 'history:' .. id, prefix .. 'entries:' .. id)
    redis.call('ZREM', prefix .. 'ended', id)
    return 1
end
if not old[1] or not old[2] then return -1 end
local status = string.match(old[1], '[^/]*$')
local readable, head = pcall(cjson.decode, old[3] or '')
readable = readable and type(head) == 'table' and type(head[4]) == 'string'
if live[status] or tonumber(at) >= tonumber(ARGV[4]) or not readable
    or redis.call('EXISTS', prefix .. 'outbox:' .. id) == 1
    or redis.call('EXISTS', prefix .. 'saga:' .. ARGV[3]) == 1 then return -1 end
for _, name in ipairs(redis.call('HKEYS', prefix .. 'entries:' .. id)) do
    if string.sub(name, 1, 6) == 'label:' then redis.call('ZREM', prefix .. name, id) end
end
redis.call('UNLINK', KEYS[1], prefix .. 'history:' .. id, prefix .. 'entries:' .. id)
redis.call('ZREM', prefix .. 'ended', id)
redis.call('ZREM', prefix .. 'started:' .. old[1], id)
redis.call('ZREM', prefix .. 'due:' .. old[2], id)
redis.call('HINCRBY', prefix .. 'counts', old[1], -1)
local over = head[4] .. ' ' .. status .. ' ' .. at .. ' ' .. string.match(old[1], '^(.*)/')
local left = math.ceil((tonumber(at) - tonumber(ARGV[5])) * 1000)
if ARGV[5] == '0.0' then
    redis.call('SET', prefix .. 'over:' .. id, over)
elseif left > 0 then
    redis.call('SET', prefix .. 'over:' .. id, over, 'PX', string.format('%.0f', left))
end
if tonumber(redis.call('GET', prefix .. 'forgotten') or '0') < tonumber(at) then
    redis.call('SET', prefix .. 'forgotten', at)
end
return 1
""")

DUE = Script("""
local now, limit, claim_until = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local passed, found = {}, {}
for i = 4, #ARGV do passed[ARGV[i]] = true end
for _, key in ipairs(KEYS) do
    local range = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit + #ARGV - 3)
    for i = 1, #range, 2 do
        if not passed[range[i]] then table.insert(found, {key, range[i], tonumber(range[i + 1])}) end
    end
end
if #KEYS > 1 then
    table.sort(found, function(a, b) return a[3] < b[3] or (a[3] == b[3] and a[2] < b[2]) end)
end
local ids = {}
for i = 1, math.min(limit, #found) do
    if claim_until ~= '' then redis.call('ZADD', found[i][1], claim_until, found[i][2]) end
    ids[i] = found[i][2]
end
local time = redis.call('TIME')
return {time[1], time[2], ids}
""")

PUT_OFF = Script("""
local due = ARGV[1] .. 'due:' .. (redis.call('HGET', KEYS[1], 'kind') or '')
local score = redis.call('ZSCORE', due, ARGV[2])
if score and tonumber(score) == tonumber(ARGV[3]) then redis.call('ZADD', due, ARGV[4], ARGV[2]) end
return 1
""")
