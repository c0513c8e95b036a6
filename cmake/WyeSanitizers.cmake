# SPDX-License-Identifier: Apache-2.0
# WYE_SANITIZE=address or thread instruments everything. Without -foptimize-sibling-calls g++ grows the stack
# with each child coroutine that is ready at once, in Debug and under sanitizers.
set(WYE_SANITIZE "" CACHE STRING "address (with undefined) or thread")
if(WYE_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(WYE_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<NOT:$<CONFIG:Release>>:-foptimize-sibling-calls>)
endif()
