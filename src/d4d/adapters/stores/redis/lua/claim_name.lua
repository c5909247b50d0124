-- A host is about to lease an address for a container of this name. What the name came to is
-- 'owner claimed number generation pool' in the hash of names: claimed is 0 once it was settled,
-- else when it was claimed. Returns claimed, owner, number | free, number.
local owner, pool, segment, name, patience = unpack(ARGV)
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
local key = names_key(segment)
local stored = redis.call('HGET', key, name)
local number, generation, where = '', '0', pool
if stored then
  local whose, claimed
  whose, claimed, number, generation, where = string.match(stored, '^(%S+) (%d+) (%x*) (%d+) (.*)$')
  local value = redis.call('HGET', leases_key(where), number)
  local stored_generation, state, holder = head(value)
  local is_it = stored_generation == generation
  if whose ~= owner then
    if claimed ~= '0' and tonumber(now) - tonumber(claimed) < tonumber(patience) then
      return { 'claimed', whose, '' }
    end
    if is_it and holder ~= owner and state ~= FREED and state ~= 'released' then
      return { 'claimed', holder, number }
    end
  end
  if is_it and holder ~= owner and state == 'released' then -- held for who came back elsewhere
    local body = string.match(value, '\n(.*)$')
    redis.call('HSET', leases_key(where), number, generation .. ' ' .. FREED .. ' ' .. holder .. '\n' .. body)
    vacate(segment, number, generation, now)
  end
end
redis.call('HSET', key, name, owner .. ' ' .. now .. ' ' .. number .. ' ' .. generation .. ' ' .. where)
return { 'free', number }
