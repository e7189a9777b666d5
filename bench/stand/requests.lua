-- Sends the requests of a file, each once and in turn, then from its beginning: lines that tell a length, and as many bytes behind
-- each. Read as they are sent, so that the first leaves at once. Arguments: this folder, the file, where in it the first one stands.
local file

init = function(arguments)
  file = io.open(arguments[1], "rb")
  file:seek("set", tonumber(arguments[2]))
end

request = function()
  local length = file:read("*n")
  if not length then
    file:seek("set", 0)
    length = file:read("*n")
  end
  file:read(1)
  return file:read(length)
end

dofile(os.getenv("LOAD_LUA"))
