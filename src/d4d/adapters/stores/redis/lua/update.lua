-- Replaces the lease of this owner and generation. Returns 1, or 0 where there is none such.
local owner, pool, segment, number, generation, state, body, since = unpack(ARGV)
local stored_generation, stored_state, stored_owner = head(redis.call('HGET', leases_key(pool), number))
if stored_generation ~= generation or stored_owner ~= owner then return 0 end
if stored_state == FREED and state ~= FREED then
  local holder = redis.call('HGET', held_key(segment), number)
  if holder and holder ~= generation then return 0 end
end
begin(owner)
local value = generation .. ' ' .. state .. ' ' .. owner .. '\n' .. body
redis.call('HSET', leases_key(pool), number, value)
if state == FREED and stored_state ~= FREED then
  vacate(segment, number, generation, since)
elseif state ~= FREED and stored_state == FREED then
  occupy(segment, number, generation)
end
return 1
