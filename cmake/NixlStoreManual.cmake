# Lets the command print its manual pages and completions, run as a script at build time:
#
#   cmake -DCOMMAND=<nixl-store> -DOUT=<folder> -P NixlStoreManual.cmake
cmake_minimum_required(VERSION 3.20)
foreach(variable IN ITEMS COMMAND OUT)
    if(NOT ${variable})
        message(FATAL_ERROR "NixlStoreManual.cmake: ${variable} is not set")
    endif()
endforeach()

function(run)
    execute_process(COMMAND "${COMMAND}" ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE error)
    if(NOT result EQUAL 0)
        list(JOIN ARGV " " arguments)
        message(FATAL_ERROR "${COMMAND} ${arguments}: ${result}\n${error}")
    endif()
    set(output "${output}" PARENT_SCOPE)
endfunction()

# Pages of subcommands that are no more must not stay.
file(REMOVE_RECURSE "${OUT}/man1")
file(MAKE_DIRECTORY "${OUT}/man1")
run(man --directory "${OUT}/man1")

# Each shell finds a completion by its file's name.
foreach(shell IN ITEMS bash zsh fish)
    run(completions ${shell})
    set(bash_name nixl-store)
    set(zsh_name _nixl-store)
    set(fish_name nixl-store.fish)
    file(WRITE "${OUT}/completions/${shell}/${${shell}_name}" "${output}")
endforeach()
