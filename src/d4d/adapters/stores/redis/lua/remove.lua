-- Removes the lease of this owner and generation. Returns 1, or 0 where there is none such.
local owner, pool, segment, number, generation, since = unpack(ARGV)
local stored_generation, _, stored_owner = head(redis.call('HGET', leases_key(pool), number))
if stored_generation ~= generation or stored_owner ~= owner then return 0 end
begin(owner)
redis.call('HDEL', leases_key(pool), number)
forget(owner, pool, number)
vacate(segment, number, generation, since)
return 1
