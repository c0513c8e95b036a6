# SPDX-License-Identifier: Apache-2.0
# WYE_SANITIZE=address or thread instruments everything.
set(WYE_SANITIZE "" CACHE STRING "Empty, address (with undefined) or thread")
set_property(CACHE WYE_SANITIZE PROPERTY STRINGS "" address thread)

if(WYE_SANITIZE STREQUAL "address")
    set(sanitizers -fsanitize=address,undefined)
    add_compile_options(${sanitizers} -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(WYE_SANITIZE STREQUAL "thread")
    set(sanitizers -fsanitize=thread)
    # Asio's fences are beside atomics that TSan does understand.
    add_compile_options(${sanitizers} -fno-omit-frame-pointer
                        $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
elseif(WYE_SANITIZE)
    message(FATAL_ERROR "WYE_SANITIZE is address or thread, not '${WYE_SANITIZE}'")
endif()
if(WYE_SANITIZE)
    add_link_options(${sanitizers})
endif()

# Outside Release: the library's own checks, and on g++ the option without which the stack grows with each
# child coroutine that is ready at once.
add_compile_definitions($<$<NOT:$<CONFIG:Release>>:_GLIBCXX_ASSERTIONS>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<NOT:$<CONFIG:Release>>:-foptimize-sibling-calls>)
endif()
