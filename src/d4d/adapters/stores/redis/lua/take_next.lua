
-- The usual claim, before common.lua and take.lua: any address is wanted, the next never-used one of
-- the range can be had, and the owner has leases in the pool, so is in the list of owners. It comes
-- to what take.lua would do, in half the time, as no function of theirs is made. All else is left to
-- them. The first write is one that Redis refuses when memory is short.
local owner, pool, segment, window, last, most_resting, claimed, state, body = string.match(ARGV[1],
  '^(%S+) (%S+) (%S*) (%x+%-(%x+)) (%d+) %d+ %d+   %S+ %S* (%S*) (%S+)\n(.*)$')
if owner then
  local call, sub = redis.call, string.sub
  local marks = root .. ':marks:' .. segment
  local number = call('HGET', marks, window) or 'end'
  local low = number ~= last and tonumber(sub(number, -4), 16) or 0xffff -- of 'end' there is none
  local rest, operator = root .. ':rest:' .. segment .. ':' .. window, root .. ':operator:' .. segment
  local of = root .. ':of:' .. owner .. ':' .. pool
  local there = 0 -- the sum of: 1 where any rest, 2 where an operator reserved any, 4 for the owner
  if low < 0xffff then -- a carry is take.lua's
    there = call('EXISTS', rest, operator, operator, of, of, of, of) -- each as often as it is named
  end
  if (there == 4 or there == 5 and call('ZCARD', rest) < tonumber(most_resting)
      and not call('ZSCORE', rest, number)) -- what rests in a range rests in all that have it
    and not string.find(claimed, number, 1, true) -- as the gateway, of which each claim tells
    and call('HEXISTS', root .. ':reserved:' .. segment, number) == 0
  then
    local held, generation = root .. ':held:' .. segment, next_generation()
    if call('HSETNX', held, number, generation) == 1 then
      local value = generation .. ' ' .. state .. ' ' .. owner .. '\n' .. body
      if call('HSETNX', root .. ':leases:' .. pool, number, value) == 1 then
        call('SADD', of, number)
        call('HSET', marks, window, sub(number, 1, -5) .. string.format('%04x', low + 1))
        return { 'taken', number, generation }
      end
      call('HDEL', held, number)
    end
  end
end

