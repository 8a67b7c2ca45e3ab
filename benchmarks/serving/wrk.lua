-- Sends several pictures in turn and keeps answers with 200 apart from refused ones.
--
--   wrk -t N -c N -s wrk.lua URL -- REQUESTS RESULT WARM_UP
--
-- Run it with as many threads as connections: a thread then has one connection, so that the time
-- between request() and response() is the latency of that answer. REQUESTS is a folder of files
-- that each hold a body, and of a file "type" with the content type. RESULT gets one JSON object,
-- whose latencies are those of answers that came after WARM_UP seconds: in the first moments, wrk
-- itself takes the cores to start.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]]
local MONOTONIC = 1
local now_holder = ffi.new("moment")

local function now_us()
  ffi.C.clock_gettime(MONOTONIC, now_holder)
  return tonumber(now_holder.seconds) * 1e6 + tonumber(now_holder.nanoseconds) / 1e3
end

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

-- Each thread sends its own few, so that many threads need little memory.
local PICTURES_OF_A_THREAD = 4

function init(args)
  local folder = args[1]
  result, warm_up_us = args[2], tonumber(args[3]) * 1e6
  accepted, statuses = {}, {}
  count, sent, started, first = 0, number, 0, nil
  local headers = { ["Content-Type"] = read(folder .. "/type") }
  local total = tonumber(read(folder .. "/count"))
  requests = {}
  for i = 1, PICTURES_OF_A_THREAD do
    local body = read(string.format("%s/%02d", folder, (number * PICTURES_OF_A_THREAD + i) % total))
    requests[i] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  sent = sent + 1
  started = now_us()
  first = first or started
  return requests[sent % PICTURES_OF_A_THREAD + 1]
end

function response(status)
  local key = tostring(status)
  statuses[key] = (statuses[key] or 0) + 1
  local now = now_us()
  if status == 200 and now - first > warm_up_us then
    count = count + 1
    accepted[count] = now - started
  end
end

function done(summary)
  local latencies, statuses_of_all = {}, {}
  for _, thread in ipairs(threads) do
    for _, latency in ipairs(thread:get("accepted")) do
      table.insert(latencies, string.format("%.0f", latency))
    end
    for status, n in pairs(thread:get("statuses")) do
      statuses_of_all[status] = (statuses_of_all[status] or 0) + n
    end
  end
  local counted = {}
  for status, n in pairs(statuses_of_all) do
    table.insert(counted, string.format('"%s": %d', status, n))
  end
  local errors = summary.errors
  local file = assert(io.open(threads[1]:get("result"), "w"))
  file:write(string.format(
    '{"seconds": %f, "statuses": {%s}, "errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d}, "latencies_us": [%s]}\n',
    summary.duration / 1e6, table.concat(counted, ", "),
    errors.connect, errors.read, errors.write, errors.timeout, table.concat(latencies, ", ")
  ))
  file:close()
end
