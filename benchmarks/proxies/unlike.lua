-- Requests none of which has the same header lines as another one, of this run or the last ones.
local count = os.time() % 1000 * 1000000

request = function()
  count = count + 1
  return wrk.format(nil, nil, { ["X-Count"] = tostring(count) })
end
