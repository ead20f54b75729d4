-- The bans that instances share. Times are milliseconds of this server.
--
-- A ban, or that one was lifted, is an entry with a number of its own. Whoever knows a number asks for the entries behind it.
--
-- KEYS   entries (client to entry), log (client by number), ends (client by the time the entry goes), meta (last number, name of this list)
-- ARGV   operation, name of the list that the caller knows, last number that it knows, name for a new list, and what the operation needs
local entries, log, ends, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local operation, known = ARGV[1], tonumber(ARGV[3])

-- A store that comes back as it was before, or a replica that has missed the last, would give out numbers again that the callers have seen: it
-- is another list by another name, and is told all.
local name = redis.call('HGET', meta, 'name')
if not name or (name == ARGV[2] and tonumber(redis.call('HGET', meta, 'number') or '0') < known) then
  name = ARGV[4] .. string.format('%.0f', now)
  redis.call('HSET', meta, 'name', name)
end

local over = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
for _, client in ipairs(over) do
  redis.call('HDEL', entries, client)
  redis.call('ZREM', log, client)
  redis.call('ZREM', ends, client)
end

local function write(client, goes, entry)
  local number = redis.call('HINCRBY', meta, 'number', 1)
  redis.call('HSET', entries, client, entry)
  redis.call('ZADD', log, number, client)
  redis.call('ZADD', ends, string.format('%.0f', goes), client)
  redis.call('PUBLISH', ARGV[5], number)
end

if operation == 'ban' then
  -- channel, client, which it replaces (0: none, 1: one that ends earlier, 2: any), most, milliseconds of the ban, of what is left of it and of the memory behind it, count and rule
  local client, replaces, most = ARGV[6], ARGV[7], tonumber(ARGV[8])
  local is_new = redis.call('HEXISTS', entries, client) == 0
  if is_new and redis.call('HLEN', entries) >= most then return 0 end
  if not is_new and replaces == '0' then return 0 end
  local stop = now + tonumber(ARGV[10])
  if not is_new and replaces == '1' then
    -- A ban may be told late, or be shorter than one that was made elsewhere: it frees nobody.
    local other = string.match(redis.call('HGET', entries, client), '^ban %S+ (%S+) ')
    if other and tonumber(other) > stop then return 0 end
  end
  local forget = stop + tonumber(ARGV[11])
  local entry = string.format('ban %.0f %.0f %.0f %s %s', stop - tonumber(ARGV[9]), stop, forget, ARGV[12], ARGV[13])
  write(client, forget, entry)
  return 1
end

if operation == 'lift' then
  -- channel, client, how long an instance that is away may have the ban, and for how many milliseconds this has been on its way
  local entry = redis.call('HGET', entries, ARGV[6])
  local began = entry and string.match(entry, '^ban (%S+) ')
  -- What was banned since was not meant.
  if began and tonumber(began) > now - tonumber(ARGV[8]) then return 0 end
  local goes = redis.call('ZSCORE', ends, ARGV[6])
  goes = math.max(goes and tonumber(goes) or 0, now + tonumber(ARGV[7]))
  write(ARGV[6], goes, 'lifted')
  return 1
end

-- sync: most
local found = redis.call('ZRANGEBYSCORE', log, '(' .. ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[5]))
local answer = {name, string.format('%.0f', now)}
for i = 1, #found, 2 do
  answer[#answer + 1] = found[i + 1]
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = redis.call('HGET', entries, found[i]) or 'lifted'
end
return answer
