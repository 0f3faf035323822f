-- Requests none of which has the same header lines as another one.
local count = 0

request = function()
  count = count + 1
  return wrk.format(nil, nil, { ["X-Count"] = tostring(count) })
end
