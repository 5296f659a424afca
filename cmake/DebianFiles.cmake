# Run by CPack between installing and packing: what Debian wants beside the files of cmake --install.
# The licence is not packed: Debian has its text, and `copyright` names it.
set(doc ${CPACK_TEMPORARY_DIRECTORY}/usr/share/doc/onepass)
file(STRINGS ${CPACK_ONEPASS_DEBIAN}/changelog newest LIMIT_COUNT 1)
if(NOT newest MATCHES "^onepass \\(([^)]*)\\)" OR NOT CMAKE_MATCH_1 STREQUAL CPACK_PACKAGE_VERSION)
  message(FATAL_ERROR "packaging/debian/changelog: want an entry for ${CPACK_PACKAGE_VERSION} on top, found \"${newest}\"")
endif()
file(REMOVE ${doc}/LICENSE)
foreach(name copyright changelog)
  configure_file(${CPACK_ONEPASS_DEBIAN}/${name} ${doc}/${name} COPYONLY)
  file(CHMOD ${doc}/${name} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
file(GLOB manual ${CPACK_TEMPORARY_DIRECTORY}/usr/share/man/man1/*.1)
execute_process(COMMAND gzip -9 -n -f ${doc}/changelog ${manual} COMMAND_ERROR_IS_FATAL ANY)
# Whatever the umask was.
execute_process(COMMAND find ${CPACK_TEMPORARY_DIRECTORY} -type d -exec chmod 755 {} + COMMAND_ERROR_IS_FATAL ANY)
