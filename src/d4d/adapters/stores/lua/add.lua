-- Stores a new acquisition. With 'unless_held' not where a lease holds its address already. Returns
-- its generation, or 'register', or 'held'.
local owner, register, pool, segment, number, state, body, unless_held = unpack(ARGV)
if register == '' and not is_registered(owner) then return 'register' end
begin(owner)
if unless_held ~= '' and redis.call('HEXISTS', held_key(segment), number) == 1 then
  return { 'held', redis.call('HGET', leases_key(pool), number) or '' }
end
return put(owner, pool, segment, number, state, body)
