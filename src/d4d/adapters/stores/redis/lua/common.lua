-- What several scripts do: it stands behind root.lua, and before each of them.

local FREED = 'freed'

local function leases_key(pool) return root .. ':leases:' .. pool end
local function of_key(owner, pool) return root .. ':of:' .. owner .. ':' .. pool end
local function pools_key(owner) return root .. ':pools:' .. owner end
local function records_key(owner) return root .. ':records:' .. owner end
local function names_key(segment) return root .. ':names:' .. segment end
local function held_key(segment) return root .. ':held:' .. segment end
local function reserved_key(segment) return root .. ':reserved:' .. segment end
local function operator_key(segment) return root .. ':operator:' .. segment end
local function marks_key(segment) return root .. ':marks:' .. segment end
local function rest_key(segment, window) return root .. ':rest:' .. segment .. ':' .. window end

-- The first write of each script. Redis refuses SADD when memory is short, so that a script has
-- done all or nothing: not all of the commands that follow would be refused. False, and nothing was
-- done, where the owner is new and 'register' says that the list of its subnets, which is in another
-- slot, may not have this one.
local function begin(owner, register)
  if redis.call('SADD', root .. ':owners', owner) == 0 or register ~= '' then return true end
  redis.call('SREM', root .. ':owners', owner)
  return false
end

-- Generation, state and owner of a stored lease; nil without one.
local function head(value)
  if not value then return nil end
  return string.match(value, '^(%d+) (%S+) (%S+)\n')
end

-- Whom an operator's reservation is for: a MAC, a name, or '-' for nobody.
local function whom(reservation)
  return string.match(reservation, '^[^\n]*')
end

local function is_within(number, window)
  local first, last = string.match(window, '^(%x+)-(%x+)$')
  return first <= number and number <= last
end

local function windows_of(segment, number)
  local found = {}
  for _, window in ipairs(redis.call('HKEYS', marks_key(segment))) do
    if is_within(number, window) then table.insert(found, window) end
  end
  return found
end

local function put_to_rest(segment, number, since)
  for _, window in ipairs(windows_of(segment, number)) do
    redis.call('ZADD', rest_key(segment, window), 'NX', since, number)
  end
end

local function occupy(segment, number, generation)
  redis.call('HSET', held_key(segment), number, generation)
  for _, window in ipairs(windows_of(segment, number)) do
    redis.call('ZREM', rest_key(segment, window), number)
  end
end

local function vacate(segment, number, generation, since)
  if redis.call('HGET', held_key(segment), number) ~= generation then return end
  redis.call('HDEL', held_key(segment), number)
  put_to_rest(segment, number, since)
end

local function forget(owner, pool, number)
  redis.call('SREM', of_key(owner, pool), number)
  if redis.call('EXISTS', of_key(owner, pool)) == 0 then
    redis.call('SREM', pools_key(owner), pool)
  end
end

-- Stores a new acquisition, in place of whatever has its pool and address; its caller sees to who
-- holds that.
local function put(owner, pool, number, generation, state, body)
  local leases = leases_key(pool)
  local value = generation .. ' ' .. state .. ' ' .. owner .. '\n' .. body
  if redis.call('HSETNX', leases, number, value) == 0 then
    local _, _, previous = head(redis.call('HGET', leases, number))
    if previous and previous ~= owner then forget(previous, pool, number) end
    redis.call('HSET', leases, number, value)
  end
  redis.call('SADD', of_key(owner, pool), number)
  redis.call('SADD', pools_key(owner), pool)
end
