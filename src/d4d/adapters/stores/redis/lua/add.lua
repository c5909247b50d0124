-- Stores a new acquisition. With 'unless_held' not where a lease holds its address already. One that
-- is stored already, as its answer was lost, keeps its generation: it is told by its owner and by
-- 'acquired_at', the fifth value of its body. Returns its generation, or 'register', or 'held'.
local owner, register, pool, segment, number, state, body, unless_held, acquired_at = unpack(ARGV)
if not begin(owner, register) then return 'register' end
local holder = redis.call('HGET', held_key(segment), number)
local stored = holder and redis.call('HGET', leases_key(pool), number)
if stored then
  local stored_generation, stored_state, stored_owner = head(stored)
  if stored_owner == owner and stored_state ~= FREED and stored_generation == holder then
    local is_read, kept = pcall(cjson.decode, string.match(stored, '\n(.*)$'))
    if is_read and kept[5] == tonumber(acquired_at) then
      put(owner, pool, number, stored_generation, state, body)
      return stored_generation
    end
  end
end
if unless_held ~= '' and holder then
  return { 'held', stored or '' }
end
local generation = next_generation()
put(owner, pool, number, generation, state, body)
if state ~= FREED then occupy(segment, number, generation) end
return generation
