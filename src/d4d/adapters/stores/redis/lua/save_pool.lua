-- Stores an owner's record of a pool, or removes it where body is empty; then counts anew how
-- often each address is reserved in the segment. Returns 'saved', or 'register'.
local owner, register, pool, segment, body = unpack(ARGV, 1, 5)
if not begin(owner, register) then return 'register' end
local reserved = reserved_key(segment)
local stored = redis.call('HGET', records_key(owner), pool)
if stored then
  for number in string.gmatch(string.match(stored, '^[^\n]*'), '%x+') do
    if redis.call('HINCRBY', reserved, number, -1) < 1 then redis.call('HDEL', reserved, number) end
  end
end
if body == '' then
  redis.call('HDEL', records_key(owner), pool)
  return 'saved'
end
local numbers = {}
for i = 6, #ARGV do
  redis.call('HINCRBY', reserved, ARGV[i], 1)
  table.insert(numbers, ARGV[i])
end
redis.call('HSET', records_key(owner), pool, table.concat(numbers, ' ') .. '\n' .. body)
return 'saved'
