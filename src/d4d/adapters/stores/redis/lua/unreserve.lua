-- Takes away an operator's reservation, and returns it; nil where there is none.
local segment, number = unpack(ARGV)
local operator = operator_key(segment)
local stored = redis.call('HGET', operator, number)
if stored then redis.call('HDEL', operator, number, whom(stored)) end
return stored
