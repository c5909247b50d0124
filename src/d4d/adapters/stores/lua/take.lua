-- Chooses a free address and stores its lease: what ranges.choose does, and why, is told there.
-- Returns one of:
-- register | again | held, lease | reserved, for whom | full, count | taken, number, generation
local owner, register, pool, segment, first, last = unpack(ARGV, 1, 6)
local rested, most_resting, steps, address, hint, state, body = unpack(ARGV, 7, 13)
local by_mac, by_name = unpack(ARGV, 14, 15)
if register == '' and not is_registered(owner) then return { 'register' } end
begin(owner)

local window = first .. '-' .. last
local marks, rest = marks_key(segment), rest_key(segment, window)
local operator = operator_key(segment)

local asked = {} -- what the claim itself reserves
for i = 16, #ARGV do asked[ARGV[i]] = true end

-- What an operator keeps from the one who asks.
local function kept(number)
  local stored = redis.call('HGET', operator, number)
  local for_whom = stored and whom(stored)
  return stored and for_whom ~= by_mac and for_whom ~= by_name and stored or nil
end

local function is_reserved(number)
  return asked[number] or redis.call('HEXISTS', reserved_key(segment), number) == 1
    or kept(number) ~= nil
end

local function is_held(number)
  return redis.call('HEXISTS', held_key(segment), number) == 1
end

-- A range that is new learns what rests in the others: its mark passes by such addresses.
local function open_window()
  if redis.call('HEXISTS', marks, window) == 1 then return end
  for _, other in ipairs(redis.call('HKEYS', marks)) do
    local entries = redis.call('ZRANGE', rest_key(segment, other), 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do
      if is_within(entries[i], window) then redis.call('ZADD', rest, entries[i + 1], entries[i]) end
    end
  end
  redis.call('HSET', marks, window, first)
end

local function after(number)
  for i = #number, 1, -1 do
    local digit = tonumber(string.sub(number, i, i), 16)
    if digit < 15 then
      return string.sub(number, 1, i - 1) .. string.format('%x', digit + 1)
        .. string.rep('0', #number - i)
    end
  end
end

local function never_used()
  local mark, chosen = redis.call('HGET', marks, window), nil
  local begun = mark
  for _ = 1, tonumber(steps) do
    if mark == 'end' or chosen then break end
    local number = mark
    mark = number == last and 'end' or after(number)
    if not is_held(number) and not redis.call('ZSCORE', rest, number) then
      if is_reserved(number) then
        put_to_rest(segment, number, 0) -- the mark won't come by again when it is let go
      else
        chosen = number
      end
    end
  end
  if mark ~= begun then redis.call('HSET', marks, window, mark) end
  return chosen, mark == 'end'
end

local function longest_rested(before)
  local few = #ARGV - 15 + redis.call('HLEN', reserved_key(segment))
    + redis.call('HLEN', operator)
  local entries = redis.call('ZRANGE', rest, 0, few, 'WITHSCORES')
  for i = 1, #entries, 2 do
    if not is_reserved(entries[i]) then
      if before and tonumber(entries[i + 1]) > before then return nil end
      return entries[i]
    end
  end
end

local function count_reserved()
  local count = 0
  for _, number in ipairs(redis.call('HKEYS', reserved_key(segment))) do asked[number] = true end
  for _, field in ipairs(redis.call('HKEYS', operator)) do
    if string.match(field, '^%x+$') then asked[field] = true end
  end
  for number in pairs(asked) do
    if is_within(number, window) and not is_held(number) then count = count + 1 end
  end
  return count
end

local function taken(number)
  return { 'taken', number, put(owner, pool, segment, number, state, body) }
end

open_window()
if address ~= '' then
  if is_held(address) then return { 'held', redis.call('HGET', leases_key(pool), address) or '' } end
  if is_reserved(address) then return { 'reserved', kept(address) or '' } end
  return taken(address)
end
local own = redis.call('HGET', operator, by_mac)
  or by_name ~= '' and redis.call('HGET', operator, by_name)
if own and not is_held(own) and not is_reserved(own) then return taken(own) end
if hint ~= '' and not is_held(hint) and not is_reserved(hint) then return taken(hint) end

local chosen, at_end
if redis.call('ZCARD', rest) >= tonumber(most_resting) then
  chosen = longest_rested(tonumber(rested))
end
if not chosen then
  chosen, at_end = never_used()
  if not chosen and not at_end then return { 'again' } end
end
chosen = chosen or longest_rested(nil)
if not chosen then return { 'full', count_reserved() } end
return taken(chosen)
