# What cmake --install puts where, and the Debian package of it (cpack -G DEB, make package).
#   bin                          the program
#   share/man/man1               manual pages, from packaging/man and the program's own help
#   share/bash-completion ...    completions of bash, zsh and fish, from the program's own help
#   lib/systemd/system           the service, and etc/onepass/serve.conf, its settings
#   share/onepass                models, chains and recipes of the demonstration, as they lie here, so
#                                that the paths in their YAML files hold
#   share/doc/onepass            README, docs and the licence
# Texts that name places (manual pages, the service, its settings) get those of the prefix that is
# given when installing. Settings that are there are left alone.
include(GNUInstallDirs)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

# Made anew with the program, since the program's help is what they say.
set(pages ${CMAKE_BINARY_DIR}/pages)
set(packaging ${CMAKE_SOURCE_DIR}/packaging)
file(GLOB texts CONFIGURE_DEPENDS ${packaging}/man/*.mdoc)
add_custom_command(
  OUTPUT ${pages}/stamp
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${pages}
  COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/tools/make_man.py --program $<TARGET_FILE:onepass>
          --texts ${packaging}/man --changelog ${packaging}/debian/changelog
          --version ${PROJECT_VERSION} --out ${pages}/man
  COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/tools/make_completions.py
          --program $<TARGET_FILE:onepass> --out ${pages}/completions
  COMMAND ${CMAKE_COMMAND} -E touch ${pages}/stamp
  DEPENDS onepass ${texts} ${packaging}/debian/changelog ${CMAKE_SOURCE_DIR}/tools/make_man.py
          ${CMAKE_SOURCE_DIR}/tools/make_completions.py
  COMMENT "Manual pages and completions"
  VERBATIM)
add_custom_target(pages ALL DEPENDS ${pages}/stamp)

install(TARGETS onepass RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(folder models/base models/prompts/world chains/demo recipes/demo)
  get_filename_component(parent ${folder} DIRECTORY)
  # figure4.yaml compares prompts that do not ship.
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_DATADIR}/onepass/${parent}
          PATTERN figure4.yaml EXCLUDE)
endforeach()
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/models/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/models)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${pages}/completions/onepass.bash RENAME onepass
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/completions/onepass.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

set(ONEPASS_ZSH_COMPLETIONS "" CACHE STRING
    "zsh's folder below share; empty: zsh/vendor-completions for /usr on Debian, else zsh/site-functions")
set(places "")
foreach(name packaging pages CMAKE_INSTALL_BINDIR CMAKE_INSTALL_DATADIR CMAKE_INSTALL_MANDIR CMAKE_INSTALL_DOCDIR
             ONEPASS_ZSH_COMPLETIONS)
  string(APPEND places "set(${name} [[${${name}}]])\n")
endforeach()
install(CODE "${places}include(${CMAKE_CURRENT_LIST_DIR}/InstallTexts.cmake)")

# --- The package ---

set(CPACK_PACKAGE_NAME onepass)
set(CPACK_PACKAGE_VENDOR "onepass developers")
set(CPACK_PACKAGE_CONTACT "onepass developers <onepass@example.org>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "chains of soft-prompted language models that hand their KV over")
set(CPACK_PACKAGE_DESCRIPTION
"A task is often solved by a chain of models: one condenses the documents, the
next one answers. Where all of them are one frozen base with different soft
prompts, the next model need not read the previous one's text again: it can
attend to the keys and values that were written while that text was generated.
.
onepass trains such prompts, runs and serves such chains on the CPU over one KV
cache without a second prefill, and measures what that saves and costs. This
package holds the program, a service that is not started unasked, and a small
base with prompts and chains, so that everything can be tried.")
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)  # what installs shall know the prefix that holds in the end
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion")
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/DebianFiles.cmake)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA "")
foreach(name conffiles postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/debian/${name})
endforeach()
set(CPACK_ONEPASS_DEBIAN ${packaging}/debian)
set(CPACK_GENERATOR DEB)
include(CPack)
