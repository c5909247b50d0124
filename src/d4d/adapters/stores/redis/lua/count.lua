-- How many addresses one owner holds in this subnet: its leases that are not freed.
local owner = ARGV[1]
local held = 0
for _, pool in ipairs(redis.call('SMEMBERS', pools_key(owner))) do
  for _, number in ipairs(redis.call('SMEMBERS', of_key(owner, pool))) do
    local _, state = head(redis.call('HGET', leases_key(pool), number))
    if state ~= FREED then held = held + 1 end
  end
end
return held
