-- The generic cell rate algorithm over all quotas of one client: the cost is charged to all of them or to none.
--
-- A key holds the time at which its quota is full again, in microseconds of this server. One that has expired is full.
-- Times and products stay below 2^53, where the numbers of Lua are exact. Replies are integers alone.
--
-- KEYS   one for each quota
-- ARGV   operation, units, then for each quota: interval, capacity and overdraft as times, and the time a charge led to
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local operation, units = ARGV[1], tonumber(ARGV[2])
local width = #KEYS
local interval, full, most, until_, stored, tat = {}, {}, {}, {}, {}, {}

for i = 1, width do
  local at = 4 * i
  interval[i], full[i] = tonumber(ARGV[at - 1]), tonumber(ARGV[at])
  most[i] = now + full[i] + tonumber(ARGV[at + 1])
  until_[i] = tonumber(ARGV[at + 2])
  local value = redis.call('GET', KEYS[i])
  stored[i] = value and tonumber(value)
  -- What is no number is nothing, and a number that does not equal itself is none.
  if stored[i] ~= stored[i] then stored[i] = nil end
  -- A clock that has stepped back, a failover, or a quota that was larger may have led further ahead than this quota ever leads.
  tat[i] = math.min(math.max(stored[i] or now, now), most[i])
end

local function put(i, value)
  if value <= now then
    redis.call('DEL', KEYS[i])
  else
    redis.call('SET', KEYS[i], string.format('%.0f', value), 'PXAT', string.format('%.0f', math.ceil(value / 1000)))
  end
end

if operation == 'charge' or operation == 'most' then
  local admitted = 1
  if operation == 'most' then
    for i = 1, width do
      units = math.max(0, math.min(units, math.floor((now + full[i] - tat[i]) / interval[i])))
    end
  end
  for i = 1, width do
    local weight = interval[i] * units
    if units > 0 and (weight > full[i] or tat[i] + weight - full[i] > now) then admitted = 0 end
  end
  if units > 0 then
    for i = 1, width do
      if admitted == 1 then
        put(i, tat[i] + interval[i] * units)
      elseif stored[i] and stored[i] > most[i] then
        -- Or the wait would start anew with every refusal.
        put(i, tat[i])
      end
    end
  end
  return {admitted, now, units, unpack(tat)}
end

for i = 1, width do
  local weight = interval[i] * units
  if operation == 'force' then
    put(i, math.min(tat[i] + weight, most[i]))
  elseif stored[i] then
    if operation == 'give' then
      -- What has come back by the passing of time is not given back again, or it would be credited to a later charge.
      weight = math.min(weight, math.max(0, until_[i] - now))
    end
    put(i, tat[i] - weight)
  end
end
return {1, now, units, unpack(tat)}
