-- Arguments: bytes of a POST body (0: GET), "close" for a connection per request, and perhaps a host.
function init(args)
  local bytes = tonumber(args[1])
  if bytes > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("p", bytes)
  end
  if args[2] == "close" then
    wrk.headers["Connection"] = "close"
  end
  if args[3] then
    wrk.headers["Host"] = args[3]
  end
  local whole = wrk.format()
  request = function() return whole end
end

function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format(
    'figures {"requests":%d,"seconds":%.6f,"p50_us":%.1f,"p99_us":%.1f,"errors":%d}\n',
    summary.requests - e.status, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), failed))
end
