-- Prints what wrk counted in a form that a program reads.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "RESULT %d %d %d %d %.1f %.1f %.1f\n", summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
