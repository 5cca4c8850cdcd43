-- Prints what wrk received as one JSON line.
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\nRESULT {"requests": %d, "bytes": %d, "errors": %d}\n', summary.requests, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
