-- Stores an owner's record of a pool, or removes it where body is empty; then counts anew how
-- often each address is reserved in the segment. A record of a lower version than the stored one
-- changes nothing. Returns 'saved', 'superseded' or 'register'.
local owner, register, pool, segment, version, body = unpack(ARGV, 1, 6)
if not begin(owner, register) then return 'register' end
local reserved = reserved_key(segment)
local stored = redis.call('HGET', records_key(owner), pool)
local stored_version = stored and string.match(stored, '\n%d+ (%d+) ')
if stored_version and tonumber(stored_version) > tonumber(version) then return 'superseded' end
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
for i = 7, #ARGV do
  redis.call('HINCRBY', reserved, ARGV[i], 1)
  table.insert(numbers, ARGV[i])
end
redis.call('HSET', records_key(owner), pool, table.concat(numbers, ' ') .. '\n' .. body)
return 'saved'
