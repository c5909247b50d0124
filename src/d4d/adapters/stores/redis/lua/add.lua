-- Stores a new acquisition. With 'unless_held' not where a lease holds its address already. Returns
-- its generation, or 'register', or 'held'.
local owner, register, pool, segment, number, state, body, unless_held = unpack(ARGV)
if not begin(owner, register) then return 'register' end
if unless_held ~= '' and redis.call('HEXISTS', held_key(segment), number) == 1 then
  return { 'held', redis.call('HGET', leases_key(pool), number) or '' }
end
local generation = next_generation()
put(owner, pool, number, generation, state, body)
if state ~= FREED then occupy(segment, number, generation) end
return generation
