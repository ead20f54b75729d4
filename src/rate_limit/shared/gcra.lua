-- The generic cell rate algorithm over all quotas of one client: the cost is charged to all of them or to none.
--
-- A key holds the time at which its quota is full again, in microseconds of this server. One that has expired is full. Where charges were given back
-- that others had been made after, it holds two numbers more: how much was given back in all, and until when that has to be known, for those others
-- come back so much earlier than they were made to. It holds a fourth where units were given back whoever had charged them: how
-- much that was, for so much earlier do all those come back that were charged before.
-- Times and products stay below 2^53, where the numbers of Lua are exact. Replies are integers alone.
--
-- KEYS   one for each quota
-- ARGV   operation, units, then for each quota: interval, capacity and overdraft as times, and the time a charge led to; to give back, also when the
--        charge was made, its units, and for each quota how much had been given back then, and how much of it whoever had charged it
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local operation, units = ARGV[1], tonumber(ARGV[2])
local width = #KEYS
local interval, full, most, until_, stored, tat, given, keep, refunded = {}, {}, {}, {}, {}, {}, {}, {}, {}

for i = 1, width do
  local at = 4 * i
  interval[i], full[i] = tonumber(ARGV[at - 1]), tonumber(ARGV[at])
  most[i] = now + full[i] + tonumber(ARGV[at + 1])
  until_[i] = tonumber(ARGV[at + 2])
  local value = redis.call('GET', KEYS[i])
  stored[i], given[i], keep[i], refunded[i] = value and tonumber(value), 0, 0, 0
  if value and not stored[i] then
    local time, sum, last, all = string.match(value, '^(%d+) (%d+) (%d+) ?(%d*)$')
    if time then
      stored[i], given[i], keep[i] = tonumber(time), tonumber(sum), math.min(tonumber(last), most[i])
      refunded[i] = tonumber(all) or 0
    end
  end
  -- What is no number is nothing, and a number that does not equal itself is none.
  if stored[i] ~= stored[i] then stored[i] = nil end
  -- A clock that has stepped back, a failover, or a quota that was larger may have led further ahead than this quota ever leads.
  tat[i] = math.min(math.max(stored[i] or now, now), most[i])
end

local function put(i, value)
  local last = math.max(value, keep[i])
  if last <= now then
    redis.call('DEL', KEYS[i])
  else
    local text = string.format('%.0f', value)
    if keep[i] > 0 then
      text = string.format('%.0f %.0f %.0f', math.max(value, now), given[i], keep[i])
      if refunded[i] > 0 then text = string.format('%s %.0f', text, refunded[i]) end
    end
    redis.call('SET', KEYS[i], text, 'PXAT', string.format('%.0f', math.ceil(last / 1000)))
  end
end

local function reply(admitted)
  local numbers = {admitted, now, units, unpack(tat)}
  for i = 1, width do
    if keep[i] > 0 then
      for j = 1, width do numbers[3 + width + j], numbers[3 + 2 * width + j] = given[j], refunded[j] end
      break
    end
  end
  return numbers
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
  return reply(admitted)
end

for i = 1, width do
  local weight = interval[i] * units
  if operation == 'force' then
    put(i, math.min(tat[i] + weight, most[i]))
  elseif stored[i] then
    if operation == 'give' then
      local at = 4 * width + 3
      local made, reserved = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
      local of_all = math.max(0, refunded[i] - tonumber(ARGV[at + 1 + width + i]))
      -- Whatever was given back since may have been of charges made before, but none comes back earlier than if it were alone.
      local earliest = until_[i] - math.max(0, given[i] - tonumber(ARGV[at + 1 + i]))
      local others = tat[i] > earliest - of_all
      earliest = math.max(earliest, made + interval[i] * reserved) - of_all
      -- What has come back by the passing of time is not given back again, or it would be credited to a later charge.
      weight = math.min(weight, math.max(0, earliest - now))
      if others and weight > 0 then
        given[i], keep[i] = given[i] + weight, math.max(keep[i], tat[i])
      end
    else
      -- More than all that is outstanding need not be remembered.
      local last = math.max(keep[i], tat[i])
      weight = math.min(weight, last - now)
      if weight > 0 then
        refunded[i], keep[i] = refunded[i] + weight, last
      end
    end
    put(i, tat[i] - weight)
  end
end
return reply(1)
