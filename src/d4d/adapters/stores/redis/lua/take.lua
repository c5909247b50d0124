-- Chooses a free address and stores its lease: what ranges.choose does, and why, is told there.
-- 'wanted' is what the claim asks for; redis_lease.py writes it. take_next.lua is a short way ahead of
-- this one, for the usual claim. Returns one of:
-- register | again | held, lease | reserved, for whom | full, count | taken, number, generation
local wanted, register = unpack(ARGV)
local owner, pool, segment, first, last, most_resting, steps,
  rested, address, hint, by_mac, by_name, claimed, state, body = string.match(wanted,
  '^(%S+) (%S+) (%S*) (%x+)-(%x+) (%d+) (%d+) (%S+) (%x*) (%x*) (%S+) (%S*) (%S*) (%S+)\n(.*)$')
if not begin(owner, register) then return { 'register' } end

local window = first .. '-' .. last
local held, reserved = held_key(segment), reserved_key(segment)
local operator, rest = operator_key(segment), rest_key(segment, window)
local has_operator = redis.call('HLEN', operator) > 0
local resting = redis.call('ZCARD', rest)

local marks = {} -- of all ranges in the segment
local stored = redis.call('HGETALL', marks_key(segment))
for i = 1, #stored, 2 do marks[stored[i]] = stored[i + 1] end

local asked, asked_count = {}, 0 -- what the claim itself reserves
for number in string.gmatch(claimed, '%x+') do
  asked[number] = true
  asked_count = asked_count + 1
end

-- What an operator keeps from the one who asks.
local function kept(number)
  local reservation = has_operator and redis.call('HGET', operator, number)
  local for_whom = reservation and whom(reservation)
  return reservation and for_whom ~= by_mac and for_whom ~= by_name and reservation or nil
end

local function is_reserved(number)
  return asked[number] or redis.call('HEXISTS', reserved, number) == 1 or kept(number) ~= nil
end

-- Whether nobody held an address: the lease that is to come does from now on, or lets it go.
local generation
local function hold(number)
  generation = generation or next_generation()
  return redis.call('HSETNX', held, number, generation) == 1
end

local function let_go(number)
  redis.call('HDEL', held, number)
end

-- Holds an address if it is neither held nor reserved.
local function can_have(number)
  if not hold(number) then return false end
  if not is_reserved(number) then return true end
  let_go(number)
  return false
end

-- A range that is new learns what rests in the others: its mark passes by such addresses.
local function open_window()
  for other in pairs(marks) do
    local entries = redis.call('ZRANGE', rest_key(segment, other), 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do
      if is_within(entries[i], window) then redis.call('ZADD', rest, entries[i + 1], entries[i]) end
    end
  end
  redis.call('HSET', marks_key(segment), window, first)
  marks[window] = first
  resting = redis.call('ZCARD', rest)
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
  local mark, chosen = marks[window], nil
  for _ = 1, tonumber(steps) do
    if mark == 'end' or chosen then break end
    local number = mark
    mark = number == last and 'end' or after(number)
    if hold(number) then
      if resting > 0 and redis.call('ZSCORE', rest, number) then
        let_go(number)
      elseif is_reserved(number) then
        let_go(number)
        put_to_rest(segment, number, 0) -- the mark won't come by again when it is reserved no more
      else
        chosen = number
      end
    end
  end
  if mark ~= marks[window] then redis.call('HSET', marks_key(segment), window, mark) end
  return chosen, mark == 'end'
end

local function longest_rested(before)
  local few = asked_count + redis.call('HLEN', reserved) + redis.call('HLEN', operator)
  local entries = redis.call('ZRANGE', rest, 0, few, 'WITHSCORES')
  for i = 1, #entries, 2 do
    if not is_reserved(entries[i]) then
      if before and tonumber(entries[i + 1]) > before then return nil end
      if hold(entries[i]) then return entries[i] end
    end
  end
end

local function count_reserved()
  local count = 0
  for _, number in ipairs(redis.call('HKEYS', reserved)) do asked[number] = true end
  for _, field in ipairs(redis.call('HKEYS', operator)) do
    if string.match(field, '^%x+$') then asked[field] = true end
  end
  for number in pairs(asked) do
    if is_within(number, window) and redis.call('HEXISTS', held, number) == 0 then count = count + 1 end
  end
  return count
end

local function taken(number)
  put(owner, pool, number, generation, state, body)
  for other in pairs(marks) do
    if (other ~= window or resting > 0) and is_within(number, other) then
      redis.call('ZREM', rest_key(segment, other), number)
    end
  end
  return { 'taken', number, generation }
end

if not marks[window] then open_window() end
if address ~= '' then
  if can_have(address) then return taken(address) end
  if redis.call('HEXISTS', held, address) == 0 then return { 'reserved', kept(address) or '' } end
  return { 'held', redis.call('HGET', leases_key(pool), address) or '' }
end
local own = has_operator and (redis.call('HGET', operator, by_mac)
  or by_name ~= '' and redis.call('HGET', operator, by_name))
if own and can_have(own) then return taken(own) end
if hint ~= '' and can_have(hint) then return taken(hint) end

local chosen, at_end
if resting >= tonumber(most_resting) then
  chosen = longest_rested(tonumber(rested))
end
if not chosen then
  chosen, at_end = never_used()
  if not chosen and not at_end then return { 'again' } end
end
chosen = chosen or longest_rested(nil)
if not chosen then return { 'full', count_reserved() } end
return taken(chosen)
