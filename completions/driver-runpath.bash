_driver__runpath() {
    local i cur prev opts cmd
    COMPREPLY=()
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        cur="$2"
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
    fi
    prev="$3"
    cmd=""
    opts=""

    for i in "${COMP_WORDS[@]:0:COMP_CWORD}"
    do
        case "${cmd},${i}" in
            ",$1")
                cmd="driver__runpath"
                ;;
            driver__runpath,audit)
                cmd="driver__runpath__subcmd__audit"
                ;;
            driver__runpath,check)
                cmd="driver__runpath__subcmd__check"
                ;;
            driver__runpath,explain)
                cmd="driver__runpath__subcmd__explain"
                ;;
            driver__runpath,fix)
                cmd="driver__runpath__subcmd__fix"
                ;;
            driver__runpath,gpu-code)
                cmd="driver__runpath__subcmd__gpu__subcmd__code"
                ;;
            driver__runpath,patchelf)
                cmd="driver__runpath__subcmd__patchelf"
                ;;
            driver__runpath,runpath)
                cmd="driver__runpath__subcmd__runpath"
                ;;
            driver__runpath__subcmd__runpath,append)
                cmd="driver__runpath__subcmd__runpath__subcmd__append"
                ;;
            driver__runpath__subcmd__runpath,prepend)
                cmd="driver__runpath__subcmd__runpath__subcmd__prepend"
                ;;
            driver__runpath__subcmd__runpath,print)
                cmd="driver__runpath__subcmd__runpath__subcmd__print"
                ;;
            driver__runpath__subcmd__runpath,remove)
                cmd="driver__runpath__subcmd__runpath__subcmd__remove"
                ;;
            driver__runpath__subcmd__runpath,set)
                cmd="driver__runpath__subcmd__runpath__subcmd__set"
                ;;
            driver__runpath__subcmd__runpath,shrink)
                cmd="driver__runpath__subcmd__runpath__subcmd__shrink"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        driver__runpath)
            opts="-h -V --help --version fix check explain audit gpu-code runpath patchelf"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__audit)
            opts="-q -v -h --missing --strict --expect --ignore --driver-link --driver-lib --group --exclude --skip-damaged --quiet --verbose --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --expect)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ignore)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-link)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-lib)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --group)
                    COMPREPLY=($(compgen -W "graphics" -- "${cur}"))
                    return 0
                    ;;
                --exclude)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__check)
            opts="-q -v -h --driver-link --driver-lib --group --exclude --skip-damaged --quiet --verbose --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --driver-link)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-lib)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --group)
                    COMPREPLY=($(compgen -W "graphics" -- "${cur}"))
                    return 0
                    ;;
                --exclude)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__explain)
            opts="-h --sysroot --loaded-by --driver-link --driver-lib --group --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --sysroot)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --loaded-by)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-link)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-lib)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --group)
                    COMPREPLY=($(compgen -W "graphics" -- "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__fix)
            opts="-q -v -n -h --driver-link --driver-lib --group --exclude --skip-damaged --quiet --verbose --dry-run --all --prepend --force-rpath --force-runpath --sync --break-links --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --driver-link)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --driver-lib)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --group)
                    COMPREPLY=($(compgen -W "graphics" -- "${cur}"))
                    return 0
                    ;;
                --exclude)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --prepend)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__gpu__subcmd__code)
            opts="-q -v -h --require --exclude --skip-damaged --quiet --verbose --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --require)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --exclude)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__patchelf)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath)
            opts="-h --help print set prepend append remove shrink"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__append)
            opts="-o -n -q -h --output --dry-run --force-rpath --force-runpath --break-links --sync --quiet --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --output)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__prepend)
            opts="-o -n -q -h --output --dry-run --force-rpath --force-runpath --break-links --sync --quiet --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --output)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__print)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__remove)
            opts="-o -n -q -h --output --dry-run --force-rpath --force-runpath --break-links --sync --quiet --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --output)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__set)
            opts="-o -n -q -h --output --dry-run --force-rpath --force-runpath --break-links --sync --quiet --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --output)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        driver__runpath__subcmd__runpath__subcmd__shrink)
            opts="-o -n -q -h --allowed-prefix --output --dry-run --force-rpath --force-runpath --break-links --sync --quiet --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --allowed-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --output)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
    esac
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _driver__runpath -o nosort -o bashdefault -o default driver-runpath
else
    complete -F _driver__runpath -o bashdefault -o default driver-runpath
fi
