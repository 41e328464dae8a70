# cmake -DDPPO=COMMAND -DPAGE=FILE -DVERSION=V -P man_page.cmake: the manual page, made of what --help prints, so that
# there is one text and not two.

# roff reads a backslash, and a dot or quote that begins a line, as its own.
function(roff text result)
  string(REPLACE "\\" "\\e" text "${text}")
  string(REPLACE "-" "\\-" text "${text}")
  string(REGEX REPLACE "(^|\n)([.'])" "\\1\\\\&\\2" text "${text}")
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

# The help of `dppo WORDS..`, then that of each verb it lists ("  name  summary").
function(add_verb)
  execute_process(COMMAND ${DPPO} ${ARGN} --help OUTPUT_VARIABLE help RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${DPPO} ${ARGN} --help: ${code}")
  endif()
  roff("${help}" escaped)
  if(ARGN)
    string(JOIN " " title dppo ${ARGN})
    string(APPEND page ".SH \"${title}\"\n.nf\n${escaped}.fi\n")
  else()
    string(APPEND page ".SH SYNOPSIS\n.nf\n${escaped}.fi\n")
  endif()
  if(help MATCHES "VERB")
    string(REGEX MATCHALL "\n  [a-z]+ +[^\n]+" lines "${help}")
    foreach(line ${lines})
      string(REGEX REPLACE "\n  ([a-z]+) .*" "\\1" verb "${line}")
      add_verb(${ARGN} ${verb})
    endforeach()
  endif()
  set(page "${page}" PARENT_SCOPE)
endfunction()

set(page ".TH DPPO 1 \"\" \"dppo ${VERSION}\"\n.SH NAME\n")
string(APPEND page "dppo \\- diffusion policy policy optimization in C, proved equal to PyTorch\n")
add_verb()
file(WRITE ${PAGE} "${page}")
