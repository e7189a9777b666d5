-- Sends the requests of a file, each once and in turn: lines that tell a length, and as many bytes behind each.
-- Arguments: this folder, the file, how many of it are used up.
local requests, at = {}, 0

init = function(arguments)
  local file = io.open(arguments[1], "rb")
  while true do
    local length = file:read("*n")
    if not length then break end
    file:read(1)
    requests[#requests + 1] = file:read(length)
  end
  at = tonumber(arguments[2])
end

request = function()
  at = at + 1
  return requests[(at - 1) % #requests + 1]
end

dofile(os.getenv("LOAD_LUA"))
