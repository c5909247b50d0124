-- All of one owner in this subnet: its records as a flat list, then for each pool its name, and
-- numbers and leases in turn.
local owner = ARGV[1]
local answer = { redis.call('HGETALL', records_key(owner)) }
for _, pool in ipairs(redis.call('SMEMBERS', pools_key(owner))) do
  local leases = {}
  for _, number in ipairs(redis.call('SMEMBERS', of_key(owner, pool))) do
    table.insert(leases, number)
    table.insert(leases, redis.call('HGET', leases_key(pool), number))
  end
  table.insert(answer, { pool, leases })
end
return answer
