-- Makes all quotas of one client full, whatever they are: all that is outstanding is given back whoever has charged it (see gcra.lua), and that is known
-- for as long as it would have been outstanding.
--
-- KEYS   one for each quota that there may be
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

for _, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  local kept
  if type(value) == 'string' then
    local tat, given, keep, refunded = string.match(value, '^(%d+) (%d+) (%d+) ?(%d*)$')
    local last = math.max(tonumber(tat or value) or 0, tonumber(keep or '') or 0)
    if now < last and last < 2 ^ 53 then
      local all = (tonumber(refunded or '') or 0) + last - now
      local text = string.format('%.0f %.0f %.0f %.0f', now, tonumber(given or '') or 0, last, all)
      kept = redis.pcall('SET', key, text, 'PXAT', string.format('%.0f', math.ceil(last / 1000)))
    end
  end
  -- What is no time is nothing, and where no memory is left, to be full comes first.
  if not kept or kept.err then redis.call('DEL', key) end
end
return 1
