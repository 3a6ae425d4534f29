# SPDX-License-Identifier: Apache-2.0
# What a component's CMakeLists.txt uses of ESP-IDF's build system: a component is the static library __idf_NAME.

function(idf_component_register)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "idf_component_register does not know ${arg_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(name "${CMAKE_CURRENT_LIST_DIR}" NAME)
  set(COMPONENT_LIB "__idf_${name}")
  set(COMPONENT_LIB "${COMPONENT_LIB}" PARENT_SCOPE)
  add_library(${COMPONENT_LIB} STATIC ${arg_SRCS})
  target_include_directories(${COMPONENT_LIB} PUBLIC ${arg_INCLUDE_DIRS} PRIVATE ${arg_PRIV_INCLUDE_DIRS})
  set_property(GLOBAL APPEND PROPERTY stub_requires ${arg_REQUIRES} ${arg_PRIV_REQUIRES})
endfunction()

# As ESP-IDF takes in a folder of EXTRA_COMPONENT_DIRS.
macro(add_component folder)
  add_subdirectory(${folder})
endmacro()
