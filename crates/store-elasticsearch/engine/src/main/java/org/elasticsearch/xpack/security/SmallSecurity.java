package org.elasticsearch.xpack.security;

import java.util.*;
import org.elasticsearch.common.settings.Settings;

/** Security without SAML and OpenID Connect, whose libraries are not published with the others. */
public class SmallSecurity extends Security {
    public SmallSecurity(Settings settings) { super(settings); }

    @Override
    public List<ActionHandler> getActions() {
        return super.getActions().stream().filter(h -> {
            String n = h.getTransportAction().getName();
            return n.contains(".saml.") == false && n.contains(".oidc.") == false;
        }).toList();
    }
}
