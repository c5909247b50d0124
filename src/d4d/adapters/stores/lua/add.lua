-- Stores a new acquisition. Returns its generation, or 'register'.
local owner, register, pool, segment, number, state, body = unpack(ARGV)
if register == '' and not is_registered(owner) then return 'register' end
begin(owner)
return put(owner, pool, segment, number, state, body)
