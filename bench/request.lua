-- What wrk sends: wrk -s request.lua URL -- METHOD PATH BODY_BYTES DEPTH
-- Six headers as browsers send them; DEPTH requests in one write. Prints the result as one JSON line.
local text

function init(args)
  local method, path, size, depth = args[1], args[2], tonumber(args[3]), tonumber(args[4])
  local headers = {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Connection"] = "keep-alive",
  } -- and Host, which wrk adds
  local body = size > 0 and string.rep("x", size) or nil
  text = string.rep(wrk.format(method, path, headers, body), depth)
end

function request()
  return text
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "us": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout))
end
