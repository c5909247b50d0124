-- The beginning of each script. What is kept where is told in redis.py.
-- KEYS[1] is the root of all keys of one subnet; the hash tag in it keeps them in one slot.

local root = KEYS[1]

-- Higher than any before it in this subnet, and than what a Redis that lost everything gave out.
local function next_generation()
  local time = redis.call('TIME')
  local generation = time[1] .. string.sub('00000' .. time[2], -6)
  local last = redis.call('GETSET', root .. ':generation', generation) or '0'
  if #last < #generation or #last == #generation and last < generation then return generation end
  generation = string.format('%.0f', tonumber(last) + 1)
  redis.call('SET', root .. ':generation', generation)
  return generation
end
